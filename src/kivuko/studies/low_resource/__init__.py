"""Which objective carries further with little bitext: objectives × bitext sizes × seeds, on validation and test.

The student, the budget of steps and the selection are the same for all recipes at a size. A seed decides the sample of
bitext, the student's first weights and the order of pairs, and is shared by the objectives, so that they can be
compared in pairs.
"""
