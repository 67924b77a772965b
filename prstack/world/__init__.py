"""The shopping environment: catalogue, reviews, web pages, behaviour histories, and the language they are told in."""
