"""KubeRay's own rules (1.7), which its schemas do not say: its operator finds them broken only when it runs.

Written anew from what the operator checks, so that a mistake shows before anything is applied. Some are stricter: they
name what the operator corrects without a word.
"""
