"""Translation of whole texts: languages, sentences, markup, and putting them together again."""
