"""Machine translation into English: the baseline that translates a query and searches with the English teacher."""
