"""The dataset card: what a dataset holds, how it was verified and how to make it again, for readers and for Hugging Face."""
