"""A local page that follows runs: what their files say, as HTML, served to this machine alone."""
