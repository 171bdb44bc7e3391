"""A synthetic aerial survey with known near-copies, for tests and demonstrations.

survey.py
    plan — the scenes of a survey and their files, before they are rendered
    photograph — the files of a scene, rendered
    broken_files — files that cannot be used, each for another reason
    Scene — a piece of ground and the files that show it
    Shot — a file of the survey, with the original that it is a copy of
    Camera — takes frames of a ground along a flight line

terrain.py
    render — a square of ground of one of eight classes

ground.py
    fractal — noise with a power-law spectrum
    smooth — hills and hollows
    blurred — white noise, smoothed
    tinted — a tone with random changes of brightness and hue
    any_of — one of several tones, tinted
    blend — a mixture of two pictures or colours
    relief — light and shade of a surface
    turned — coordinates along and across a direction
    winding — the distance from a winding line
    Pen — draws solid shapes with shadows
"""
