"""Tasks, one class in one file each; ``task_registry`` lists them.

To know how eigenvalues are sampled, solved and verified, open ``matrices/eigenvalues.py``. What a task does not define itself, it
inherits: ``matrix_task.MatrixTask`` (``errors`` and ``passes`` decide whether a predicted matrix is right) and
``token_task.TokenTask`` (expressions and sequences). Its parameters, which become its flags, are the fields of its ``spec_model``
in ``mathpipe.generate.problem_specs``.
"""
