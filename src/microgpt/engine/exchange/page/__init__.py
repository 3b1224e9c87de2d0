"""A page of a run: one HTML file with its figures, in which the trained model itself runs.

tokenizers.py  a tokenizer as data for the page        tokenizer.js              the same tokenizer there
story.py       what the page tells about a run         story.js, charts.js       show it
operations.py  what the page's reader can compute      graph.js, simd.js         the reader of exported graphs
assemble.py    the file                                model.js                  runs the model with it
                                                       write.js, read.js         let a person use the model
"""
