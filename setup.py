"""Map the five top-level folders to the package ``mathpipe`` (the list of packages is computed, never typed)."""

from setuptools import find_namespace_packages, setup

STAGES = ("pipeline", "generate", "train", "evaluate", "datasets")

setup(
    packages=[f"mathpipe.{package}" for package in find_namespace_packages(include=[f"{stage}*" for stage in STAGES])],
    package_dir={f"mathpipe.{stage}": stage for stage in STAGES},
)
