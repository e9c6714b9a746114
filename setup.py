from setuptools import find_packages, setup

# The kitchen's objects and tasks lie in data/, where people look; a wheel has them in the package.
setup(
    packages=[*find_packages(include=["mili_jax", "mili_jax.*"]), "mili_jax.data"],
    package_dir={"mili_jax.data": "data"},
)
