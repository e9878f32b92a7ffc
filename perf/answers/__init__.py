"""Ten questions that are asked before the operators are used in a network, each answered by a small experiment on the CPU.

An experiment is a module with three functions: `measure(quick)` makes what is kept in the file, of plain numbers and strings;
`told(found)` makes sentences (str) and tables (lists of rows, the first their head) of that. `quick` is as small as it goes: it
shows that the experiment runs, and its figures mean nothing.
"""

# name: (module, question), in the order of the page
QUESTIONS = {
    "training-time": ("training_time", "What becomes of the training time?"),
    "sizes": ("other_sizes", "Does a network generalise to images of other sizes?"),
    "alternatives": ("alternatives", "What are the alternatives, and how good are they?"),
    "memory": ("memory", "How much memory does it take?"),
    "hardware": ("hardware", "What runs on which hardware?"),
    "norms": ("norms", "What becomes of batch norm and dropout?"),
    "gains": ("gains", "Where does it help, and where does it hurt?"),
    "gradients": ("gradients", "How do gradients flow?"),
    "transfer": ("transfer", "Do augmentation and transfer learning work as before?"),
    "blocks": ("block_sizes", "Which block size?"),
}
