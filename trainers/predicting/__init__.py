"""A user's rows on their way through prediction: read, kept as they came, written again."""
