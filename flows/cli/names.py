"""Names that help texts list: of registries whose import would take seconds, which a test compares with them."""

MODELS = (
    "cnn_lstm, crnn, cnn_tcn, ge2e_tcn, ge2e_lr, whisper_lr, joint_lr, cnn, lstm, lflb_lstm, attention_gru, "
    "attention_gru_one_step, ensemble_1d, mean_cnn, clustered_bilstm, keyframe_cnn3d, two_way_dense, two_way_image, "
    "mdre, mdre_audio, mdre_text"
)
"""Of ``ser_tasks.models``, that need no encoder."""
WITH_ENCODER = "wav2vec2, wavlm, hubert, emotion2vec"
"""Of ``ser_tasks.models``, that need the folder of one."""
FEATURE_SETS = (
    "mfcc40, logmel8k, mel32, whisper80, mel112, vector162, vector180, mdre40, wave16k, short_term34, pitch_formants, wavelet_packet"
)
"""Of ``ser_tasks.features``."""
CLASSIFIERS = (
    "svm, knn, decision_tree, random_forest, gradient_boosting, logistic_regression, naive_bayes, mlp, "
    "multinomial_lr, logistic_ovr, linear_regression, lda, soft_vote"
)
"""Of ``ser_tasks.training.baselines``."""
FUNCTIONALS = (
    "logmel, egemaps, is09, is10, mfcc40_mean, mfcc39, vector162, vector180, short_term34, wavelet_packet, "
    "pitch_formants, mfcc_wavelet_pitch, modulation"
)
"""Of ``ser_tasks.training.functionals``."""
PREPARATIONS = "smote, selective_smote, genetic, forward"
"""Of ``ser_tasks.training.baselines``."""
FIELD_ROWS = (
    "cnn, lstm, cnn_lstm, transformer, attention_gru, mdre, emotion2vec, ensemble_1d, survey, wavelet_packet, "
    "sismote, two_way, real_time, cnn_3d, ga_clustering, clustered_bilstm, feature_extraction, mfcc_cnn, mean_cnn, "
    "functionals_rf_svm, audio_textual, mfcc_svm, speaker_normalised"
)
"""Of ``ser_tasks.training.field.rows``."""
CLASSICAL = (
    "Classical, as svm:egemaps or svm:egemaps:smote: a classifier, functionals and, if wanted, a preparation. "
    f"Classifiers: {CLASSIFIERS}. Functionals: {FUNCTIONALS}. Preparations: {PREPARATIONS}."
)
NETWORKS = f"Networks: {MODELS}. With --encoder: {WITH_ENCODER}."
EPILOGS = {
    "train": f"{NETWORKS}\n\nFeature sets: {FEATURE_SETS}.\n\n{CLASSICAL} These make no bundle.",
    "evaluate": f"{NETWORKS}\n\n{CLASSICAL}",
    "league": f"{NETWORKS}\n\n{CLASSICAL}",
    "field": f"Rows: {FIELD_ROWS}.",
}
"""What the help of a command ends with, by its name."""
