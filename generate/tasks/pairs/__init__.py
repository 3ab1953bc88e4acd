"""How the pairs of the calculus tasks are drawn, one file a task; imported at the first pair, since symengine is needed here."""
