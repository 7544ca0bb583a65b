"""Remember: the nouns, their tables, and one module of verbs per noun."""
