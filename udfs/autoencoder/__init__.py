"""The convolutional autoencoder of the paper: model, training, encoding and decoding.

All modules but this one, weights.py and shipped.py load torch; weights.py does where it needs it.

inference.py
    encoder — the encoder of a weights file, as a function of pixels
    decoder — the decoder of a weights file, as a function of latents

training.py
    train — fits the autoencoder to images
    Training — a trained model and its losses
    reproducible — seeds torch and makes its algorithms deterministic

objectives.py
    ReconstructionObjective — the paper's objective
    ContrastiveObjective — the same with a contrastive term

checkpoint.py
    Checkpoint — the state of an unfinished training
    Epoch — the losses of one pass over the images
    Position — where a training stands
    captured — the state of a training, between two steps
    restore — the same, back into objective and optimizer
    environment — what the bits of the weights depend on, beside pixels and settings
    checkpoint_bytes — a state as the bytes of a file
    load_checkpoint — a state from the bytes of a file

model.py
    Autoencoder — the layers, as a torch module
    images_from_pixels — pixels as the model's input
    check_pixels — raises ValueError for pixels of another shape or type

weights.py
    weights_bytes — a model as the bytes of a weights file
    load_model — a model from the bytes of a weights file
    model_id — the id of a weights file
    normalises — whether the model of a weights file is shown standardised images

shipped.py
    weights — the weights file of the model that comes along
    about — what that model was trained on, and what it finds

contrastive.py
    ContrastiveTerm — weight and temperature of the contrastive term
    nt_xent — the contrastive loss of two views
    Head — the projection of latents that the loss compares

augmentation.py
    augment — one random view of each image
    Augmentation — how far a view may differ from its image
    standardised — images with mean 0 and deviation 1 in each channel

device.py
    select_device — the device to compute on
    fast_precision — the precision in which a device multiplies fastest
    encoding_platform — a string that names what latents were computed on
    to_device — moves a module to a device
    repeatable_float32 — turns off TF32 and the search for the fastest kernel
"""
