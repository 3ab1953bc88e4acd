"""One adapter per problem type: everything in evaluation that depends on what a problem is."""
