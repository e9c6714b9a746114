"""Meta-World 3.1.1 as a domain: a Sawyer arm, 50 tasks with scripted experts, MuJoCo.

It needs the extra `metaworld`. Nothing of Meta-World is imported before an environment is made.
"""
