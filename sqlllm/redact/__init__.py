"""Finding what names or reaches a person in a text: by rules, and by what a model named."""
