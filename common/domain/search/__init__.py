"""Search, as far as it is about text alone: words, what is looked for, and what is shown of a hit."""
