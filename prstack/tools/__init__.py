"""The four tools of the research agent: product_search, visit_product, web_search, web_visit."""
