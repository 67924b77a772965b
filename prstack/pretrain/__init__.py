"""World text: what a small base model is pretrained on, and the tokenizer that is made from it.

    goods.py      categories that no world sells, so that the model meets many names and units, not fourteen
    wording.py    needs in many people's words, none of them the wording of synthesis or of evaluation
    corpus.py     documents: pages, listings, reading exercises, comparisons, buyers' diaries
    tokenizer.py  byte-level BPE with numbers cut into thousands
    base.py       the configuration of the model, and packs of text for the trainer

Nothing here is a conversation with tools: planning, calling and reporting are what fine-tuning teaches. What evaluation holds
out (`prstack.world.holdout`, `prstack.evaluation.phrasing`) is left out of the text.
"""
