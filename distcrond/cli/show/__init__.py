"""From documents to text: pure functions, which know neither the API's address nor click's options."""
