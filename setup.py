from setuptools import find_packages, setup

# What the kitchen is made of lies in data/, where people look for it; a wheel has it in the package.
setup(
    packages=[*find_packages(include=["mili_jax", "mili_jax.*"]), "mili_jax.data"],
    package_dir={"mili_jax.data": "data"},
)
