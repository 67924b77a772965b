"""World text: what a small base model is pretrained on, and the tokenizer that is made from it.

    goods.py      categories that no world sells, so that the model meets many names and units, not fourteen
    wording.py    needs in many people's words, none of them the wording of synthesis or of evaluation
    pieces.py     what documents are made of: needs in short, values beside limits, notes on products
    exercises.py  short documents: recalling, comparing, pages and listings with questions
    journeys.py   long documents: buyers' diaries, and the same as conversations
    corpus.py     documents by their number, and the curriculum of their kinds
    phrases.py    the fixed text of conversations, as tokens of its own
    tokenizer.py  byte-level BPE in which most numbers are one token
    base.py       the configuration of the model, and packs of text for the trainer

No document calls a tool or writes a report: that is what fine-tuning teaches. There are conversations in which a user brings what tools
would print, and requests that are answered with a list of needs and, in words, the search that follows from them. What evaluation holds
out (`prstack.world.holdout`, `prstack.evaluation.phrasing`) is left out of the text.
"""
