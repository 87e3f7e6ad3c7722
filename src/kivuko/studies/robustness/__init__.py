"""Does optimal-transport distillation make low-resource image search more robust? Objectives × attacks × budgets."""
