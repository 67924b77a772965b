"""What lies between stages: run directories, manifests, journaled Parquet parts, readers that quarantine."""
