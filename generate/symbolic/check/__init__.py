"""Is this an antiderivative? Is this a general solution? By exact identities, balls and points; SymPy is the fallback."""
