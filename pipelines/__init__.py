"""What runs after what, as Kubeflow pipelines."""
