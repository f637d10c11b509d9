# The only entry point. `make` alone says what there is.

PYTHON  ?= python3#     the interpreter that .venv is made from (3.11 or later)
VENV    ?= .venv#       where the dependencies are installed
TORCH   ?= cuda#        cuda: PyTorch as the registry has it, 4.7 GB; cpu: the small build, no GPU
CONFIG  ?= samples/demo.yaml#  what `make run` trains
NAME    ?= demo#        the run's name
ARGS    ?=#             more options for `make run`, `make test` (passed on as they are)

# What `make images`, `deploy`, `undeploy`, `ui` and `test-cluster` do, and where.
CONTAINER_TOOL ?= docker#  docker, podman or buildah
BUILD_FLAGS    ?=#  more options for its build
BASE_IMAGE     ?=#  the trainer's base image; without one CUDA's runtime, or plain Python with TORCH=cpu
IMAGE_REGISTRY ?= localhost:5001#  where the cluster finds the images
IMAGE_LOADER   ?=#  a command that brings the images there; without one kind load, minikube image load or push
KUBE_CONTEXT   ?=#  the cluster, by its kubectl context; without one the current context
EXEC           ?=#  a command that runs those that talk to the cluster
NAMESPACE      ?= fedvsr#  the deployment's name and namespace
VALUES         ?=#  a file with more Helm values: the clients above all
KFP            ?= 1#  0: without Kubeflow Pipelines
KFP_NAMESPACE  ?= kubeflow#  where Kubeflow Pipelines is
KFP_INSTALL    ?=#  1: installs Kubeflow Pipelines where there is none
KFP_ENDPOINT   ?=#  its API's address, if it is reached without forwarding a port
PURGE          ?=#  1: `make undeploy` removes the data too

DEPLOYMENT := CONTAINER_TOOL BUILD_FLAGS BASE_IMAGE TORCH IMAGE_REGISTRY IMAGE_LOADER KUBE_CONTEXT EXEC NAMESPACE \
	VALUES KFP KFP_NAMESPACE KFP_INSTALL KFP_ENDPOINT PURGE
export $(DEPLOYMENT)

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(strip $(TORCH))
UV := VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv
# What only PyTorch's CUDA build needs: left out of the lock when the CPU build is asked for.
CUDA_ONLY := torch==|torchvision==|triton==|nvidia-|cuda-

# The packages of an image, at the versions of the lock.
NAMES = $(UV) pip compile --quiet --universal --python-version 3.11 --constraints requirements.lock \
	--no-annotate --no-header

.DEFAULT_GOAL := help
.PHONY: help setup run test lint format type compile bench lock clean images deploy undeploy ui test-cluster

help:  ## say what there is
	@printf 'Targets:\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nVariables (make run NAME=second ...):\n'
	@awk -F '[?]=|#' '/^[A-Z_]+ +[?]=/ {v=$$2; gsub(/^ +| +$$/,"",v); t=$$3; gsub(/^ +/,"",t); gsub(/ /,"",$$1); printf "  %-14s %s%s\n", $$1, t, v == "" ? "" : " (" v ")"}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## install every dependency into .venv, at the locked versions and hashes

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

run: $(STAMP)  ## train on the sample videos on this machine, register the model, upscale a clip
	$(BIN)/fedvsr run $(CONFIG) --name $(NAME) $(ARGS)

# One thread a test process: two processes of two threads each wait for one another on two cores.
test: $(STAMP)  ## run the unit and pipeline tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 $(ARGS)

lint: $(STAMP)  ## check style, types, import layers and the compiled pipeline
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(MAKE) --no-print-directory type

format: $(STAMP)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

type: $(STAMP)  ## check the types
	$(BIN)/mypy

compile: $(STAMP)  ## compile the pipeline into pipelines/federated_training.yaml
	env -u FEDVSR_NAMESPACE -u FEDVSR_IMAGE -u FEDVSR_TRAINER_IMAGE $(BIN)/python -m pipelines.federated_training

bench: $(STAMP)  ## run the benchmarks, each against a named peer
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

images: $(STAMP)  ## build the container images that are not built yet
	$(BIN)/python -m scripts.deploy images

deploy: $(STAMP)  ## bring fedvsr into a cluster: images, Helm chart, pipeline; again is harmless
	$(BIN)/python -m scripts.deploy deploy

undeploy:  ## take fedvsr out of the cluster; data stays unless PURGE=1
	$(PYTHON) -m scripts.deploy undeploy

ui:  ## open KFP, MLflow and S3 on this machine until Ctrl-C
	@$(PYTHON) -m scripts.deploy ui

# The images are built out here: where EXEC leads there may be no package registry.
test-cluster: images  ## deploy to a cluster, train there, and remove it all (VALUES and NAMESPACE are the tests')
	$(EXEC) env EXEC= MAKEFLAGS= $(BIN)/pytest -n 0 -m cluster tests/cluster $(ARGS)

lock: $(STAMP)  ## write requirements.lock anew from pyproject.toml
	$(UV) pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-emit-index-url --custom-compile-command 'make lock' pyproject.toml -o requirements.lock
	$(NAMES) --group control | sed 's/[ =].*//' | sort -u > images/fedvsr/packages.txt
	$(NAMES) pyproject.toml | sed 's/[ =].*//' | sort -u > images/fedvsr-trainer/packages.txt

clean:  ## remove what was built; runs and data stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis local_outputs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
