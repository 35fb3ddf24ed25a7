"""The same thing said in several places has to be the same: in manifests, images, code, and the configuration that is
served."""
