"""What a command works on: the latest dataset and run, failures and conditions on them."""
