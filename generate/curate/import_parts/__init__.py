"""One part per problem type: how the values of imported files are read, checked and stored."""
