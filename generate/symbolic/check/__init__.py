"""Is this an antiderivative? Is this a general solution? By numbers, with SymPy as the fallback."""
