"""What runs Stageline on Kubernetes, made and checked without a cluster."""
