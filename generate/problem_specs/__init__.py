"""The parameters of problems, one module a problem type: here the flags of a task are declared.

Each field with a description is a flag and a key of ``generate.spec``: ``dim`` becomes ``--dim`` (``pipeline/config/options.py``).
``Task.options`` leaves out those that a task does not take. A task with flags of its own, such as ``gcd``, declares them in its
file, in a subclass of the spec of its problem type.
"""
