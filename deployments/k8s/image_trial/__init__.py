"""Tries a Dockerfile's steps without a container engine: in an empty Debian, or as far as a virtual environment goes.

python -m deployments.k8s.image_trial k8s/images/cpu/Dockerfile --arg TORCH_INDEX=none
python -m deployments.k8s.image_trial k8s/images/cpu/Dockerfile --root        (as root, with debootstrap)
"""
