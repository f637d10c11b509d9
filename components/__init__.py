"""The pipeline's steps as KFP components, one folder each."""
