"""The parameters of problems, one module a problem type: here the flags of a task are declared.

Each field with a description is a flag and a key of ``generate.spec``: ``dim`` becomes ``--dim`` (``pipeline/config/options.py``).
``Task.options`` leaves out those that a task does not take.
"""
