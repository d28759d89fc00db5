"""The report of a study: one page that a decision can be made on, in English or Japanese.

On the way from the storage to the page every number is a `Fact`: a value with the place that it
comes from. `models` and `ownership` gather facts, `sections` says what they mean through one table
of texts, and `html` and `markdown` only draw what the sections are made of. So each number on the
page names its source, and a test recomputes every one of them.
"""
