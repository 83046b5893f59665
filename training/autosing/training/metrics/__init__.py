"""How good predictions are: a file per kind of thing compared, under the field's names.

Every metric takes the prediction first and the target second, as NumPy arrays; waves are mono (T,). What is malformed
(no frame, two lengths where frames are compared one by one) is a ValueError that names both shapes. What has no value
by nature (the pitch error of two tracks that are never voiced together, anything about a silent or very short target)
is NaN, so that one silent sample does not end a validation; average with `numpy.nanmean`.

| file         | compares                                       | metrics                                             |
|--------------|------------------------------------------------|-----------------------------------------------------|
| mel          | log-mels                                       | mel_l1                                              |
| spectral     | waves, by their STFT                           | multi_resolution_stft, log_spectral_distance        |
| cepstral     | WORLD's envelopes                              | mcd, mcd_dtw                                        |
| pitch        | F0 tracks                                      | F0 RMSE, RPA, RCA, V/UV F1, octave errors           |
| notes        | notes, and F0 tracks with notes                | COn, COnP, COnPOff, deviation of the median F0      |
| waveform     | waves                                          | si_sdr, pesq, stoi                                  |
| loudness     | waves                                          | loudness_error                                      |
| tokens       | logits and codes                               | accuracy, perplexity, codebook use, phone purity    |
| signal.edits | symbols                                        | edit_distance                                       |
| alignment    | word times                                     | AAE, PCO, PCS, derailment                           |
| detection    | flags, and scores with flags                   | precision, recall, F1, AUROC                        |
| singer       | embeddings, mels                               | equal error rate, retrieval, a probe                |
| distribution | sets of series                                 | Frechet distances, global variance                  |
"""

from autosing.signal.edits import edit_distance
from autosing.training.metrics.alignment import AlignmentScores, alignment_scores, derailment_rate
from autosing.training.metrics.cepstral import all_pass_constant, mcd, mcd_dtw, mel_cepstra
from autosing.training.metrics.detection import DetectionScores, auroc, detection_scores
from autosing.training.metrics.distribution import (
    FrameStatistics,
    fd_mel,
    fd_mfcc,
    frame_statistics,
    frechet_distance,
    global_variance_error,
)
from autosing.training.metrics.loudness import loudness_error
from autosing.training.metrics.mel import mel_l1, unpadded
from autosing.training.metrics.notes import (
    Notes,
    NoteScores,
    note_deviations_cents,
    note_scores,
    octaves_folded_cents,
)
from autosing.training.metrics.pitch import (
    PitchAccuracy,
    PitchTrack,
    f0_median_error_cents,
    f0_rmse_cents,
    log_f0_correlation,
    octave_error_rate,
    pitch_accuracy,
    voicing_f1,
)
from autosing.training.metrics.singer import SingerProbe, equal_error_rate, mel_statistics, retrieval_accuracy
from autosing.training.metrics.spectral import StftDistance, log_spectral_distance, multi_resolution_stft
from autosing.training.metrics.tokens import (
    CodebookUse,
    PhonePurity,
    TokenCounts,
    change_rate,
    count_tokens,
    phone_purity,
)
from autosing.training.metrics.waveform import pesq, si_sdr, stoi

__all__ = [
    "AlignmentScores",
    "CodebookUse",
    "DetectionScores",
    "FrameStatistics",
    "NoteScores",
    "Notes",
    "PhonePurity",
    "PitchAccuracy",
    "PitchTrack",
    "SingerProbe",
    "StftDistance",
    "TokenCounts",
    "alignment_scores",
    "all_pass_constant",
    "auroc",
    "change_rate",
    "count_tokens",
    "derailment_rate",
    "detection_scores",
    "edit_distance",
    "equal_error_rate",
    "f0_median_error_cents",
    "f0_rmse_cents",
    "fd_mel",
    "fd_mfcc",
    "frame_statistics",
    "frechet_distance",
    "global_variance_error",
    "log_f0_correlation",
    "log_spectral_distance",
    "loudness_error",
    "mcd",
    "mcd_dtw",
    "mel_cepstra",
    "mel_l1",
    "mel_statistics",
    "multi_resolution_stft",
    "note_deviations_cents",
    "note_scores",
    "octave_error_rate",
    "octaves_folded_cents",
    "pesq",
    "phone_purity",
    "pitch_accuracy",
    "retrieval_accuracy",
    "si_sdr",
    "stoi",
    "unpadded",
    "voicing_f1",
]
