# `make` without a target lists the targets and variables.

PYTHON  ?= python3#     the Python that makes .venv (3.11 or later)
VENV    ?= .venv#       the folder that dependencies are installed into
TORCH   ?= cuda#        cuda: PyTorch with GPU support, 4.7 GB; cpu: the small build without GPU support
CONFIG  ?= samples/demo.yaml#  the experiment that `make run` trains
NAME    ?= demo#        the name of that run
ARGS    ?=#             more options for `make run`, `make test`, `test-gpu` and `test-cluster`

# For `make images`, `deploy`, `undeploy`, `ui` and `test-cluster`.
CONTAINER_TOOL ?= docker#  docker, podman or buildah
BUILD_FLAGS    ?=#  more options for the container tool's build command
BASE_IMAGE     ?=#  base image of the trainer; default: CUDA's runtime, or plain Python if TORCH=cpu
IMAGE_REGISTRY ?= localhost:5001#  registry that the cluster pulls the images from
IMAGE_LOADER   ?=#  command that loads the images; default: kind load, minikube image load, or push
KUBE_CONTEXT   ?=#  kubectl context of the cluster; default: the current context
EXEC           ?=#  prefix for kubectl and helm commands
NAMESPACE      ?= fedvsr#  namespace of the deployment, which names it
VALUES         ?=#  file with your Helm values, for example the clients
KFP            ?= 1#  0: deploy without Kubeflow Pipelines
KFP_NAMESPACE  ?= kubeflow#  namespace of Kubeflow Pipelines
KFP_INSTALL    ?=#  1: install Kubeflow Pipelines if it is missing
KFP_ENDPOINT   ?=#  address of KFP's API; default: forward its port
PURGE          ?=#  1: `make undeploy` removes the data too

DEPLOYMENT := CONTAINER_TOOL BUILD_FLAGS BASE_IMAGE TORCH IMAGE_REGISTRY IMAGE_LOADER KUBE_CONTEXT EXEC NAMESPACE \
	VALUES KFP KFP_NAMESPACE KFP_INSTALL KFP_ENDPOINT PURGE
export $(DEPLOYMENT)

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(strip $(TORCH))
UV := VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv
# Packages that only PyTorch's CUDA build needs; TORCH=cpu leaves them out.
CUDA_ONLY := torch==|torchvision==|triton==|nvidia-|cuda-

# Lists the packages of an image at the lock's versions.
NAMES = $(UV) pip compile --quiet --universal --python-version 3.11 --constraints requirements.lock \
	--no-annotate --no-header

.DEFAULT_GOAL := help
.PHONY: help setup run sites test lint format type compile bench lock clean images deploy undeploy ui test-gpu test-cluster

help:  ## list the targets and variables
	@printf 'Targets:\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nVariables, for example make run NAME=second:\n'
	@awk -F '[?]=|#' '/^[A-Z_]+ +[?]=/ {v=$$2; gsub(/^ +| +$$/,"",v); t=$$3; gsub(/^ +/,"",t); gsub(/ /,"",$$1); printf "  %-14s %s%s\n", $$1, t, v == "" ? "" : " (" v ")"}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## install all dependencies into .venv, at locked versions and hashes

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	awk '/^[a-z0-9]/ {keep = /^uv==/} keep' requirements.lock > $(VENV)/uv.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.lock
ifeq ($(strip $(TORCH)),cpu)
	$(UV) pip install --torch-backend cpu $$(grep -oE '^torch(vision)?==[0-9.]+' requirements.lock)
	awk '/^[a-z0-9]/ {keep = !/^($(CUDA_ONLY))/} keep' requirements.lock > $(VENV)/cpu.lock
	$(UV) pip install --require-hashes --no-deps -r $(VENV)/cpu.lock
else
	$(UV) pip install --require-hashes --no-deps -r requirements.lock
endif
	$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: $(STAMP)  ## train CONFIG on this machine, register the model and upscale a clip
	$(BIN)/fedvsr run $(CONFIG) --name $(NAME) $(ARGS)

sites: $(STAMP)  ## try a federation of sites on this machine: an S3 server with TLS, and an agent per client of CONFIG
	$(BIN)/fedvsr run $(CONFIG) --name sites --on sites --rounds 3 $(ARGS)

# One thread per process, since more threads than cores slow each other down.
test: $(STAMP)  ## run the unit and pipeline tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 $(ARGS)

lint: $(STAMP)  ## check the style, the import layers and the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(MAKE) --no-print-directory type

format: $(STAMP)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

type: $(STAMP)  ## check the types
	$(BIN)/mypy

# The compiled pipeline in git is that of the default deployment, so the shell's variables are ignored.
compile: $(STAMP)  ## compile the pipeline into pipelines/federated_training.yaml
	env -u FEDVSR_NAMESPACE -u FEDVSR_IMAGE -u FEDVSR_TRAINER_IMAGE $(BIN)/python -m pipelines.federated_training

bench: $(STAMP)  ## run the benchmarks
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

images: $(STAMP)  ## build the container images that do not exist yet
	$(BIN)/python -m scripts.deploy images

deploy: $(STAMP)  ## install or upgrade fedvsr in a cluster: images, Helm chart, pipeline; safe to repeat
	$(BIN)/python -m scripts.deploy deploy

undeploy:  ## remove fedvsr from the cluster; the data stays unless PURGE=1
	$(PYTHON) -m scripts.deploy undeploy

ui:  ## forward KFP, MLflow and S3 to this machine until Ctrl-C
	@$(PYTHON) -m scripts.deploy ui

test-gpu: $(STAMP)  ## run the GPU tier; without a CUDA device every test is skipped and says so
	$(BIN)/pytest -n 0 -rs -m gpu tests/gpu $(ARGS)

# The images are built outside EXEC, which may not reach a package registry.
test-cluster: images  ## test on a cluster: deploy, train, remove (sets its own VALUES and NAMESPACE)
	$(EXEC) env EXEC= MAKEFLAGS= $(BIN)/pytest -n 0 -m cluster tests/cluster $(ARGS)

lock: $(STAMP)  ## update requirements.lock from pyproject.toml
	$(UV) pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-emit-index-url --custom-compile-command 'make lock' pyproject.toml -o requirements.lock
	$(NAMES) --group control | sed 's/[ =].*//' | sort -u > images/fedvsr/packages.txt
	$(NAMES) pyproject.toml | sed 's/[ =].*//' | sort -u > images/fedvsr-trainer/packages.txt

clean:  ## remove built files; runs and data stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis local_outputs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
