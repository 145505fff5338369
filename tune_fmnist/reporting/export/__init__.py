"""A search's runs, handed over to tools that people already use: TensorBoard, MLflow, Weights & Biases."""
