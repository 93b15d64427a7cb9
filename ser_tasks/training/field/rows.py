"""The field's rows: what the project's brief names, the paper behind it, its published figure, and the systems that re-run it."""

from dataclasses import dataclass

from ser_tasks.models import MODELS

MARKS = {
    "read": "code, table or page of the paper read",
    "abstract": "abstract read",
    "memory": "from memory of the paper, not checked",
    "none": "no paper found, or nothing published to compare with",
}
"""How far a row's published figure was checked."""


@dataclass(frozen=True)
class System:
    """What is trained: a model of ``MODELS`` or a classical baseline."""

    learner: str
    """Name as ``ser league`` takes it."""
    copies: int = 0
    """Of a network: augmented copies of each clip."""
    epochs: int = 15
    """Of a network."""
    clips: int = 1500
    """Most clips of a corpus, drawn evenly over its speakers and emotions."""
    tested: int | None = None
    """Of a network: speakers that the honest folds test at least, after which no further fold is run; None: all."""

    @property
    def name(self) -> str:
        """The learner and what differs from it alone."""
        return self.learner + (f" + {self.copies} {'copy' if self.copies == 1 else 'copies'}" if self.copies else "")

    @property
    def is_network(self) -> bool:
        """Whether it is a model of ``MODELS``."""
        return self.learner in MODELS

    @property
    def cuts(self) -> str:
        """What was cut to run the system in the time there is, in words."""
        parts = [f"{self.epochs} epochs"] if self.is_network else []
        parts += [f"{self.clips} clips of a corpus at most"]
        parts += [f"{self.tested} or more speakers tested by speaker"] if self.tested else []
        return ", ".join(parts)


def _light(learner: str) -> System:
    """A network of some 1 ms for an epoch of one clip on one core."""
    return System(learner, epochs=30)


def _medium(learner: str, copies: int = 0) -> System:
    """A network of some 10 ms for an epoch of one clip on one core."""
    return System(learner, copies, epochs=10, clips=800, tested=6)


def _heavy(learner: str, epochs: int = 10) -> System:
    """A network of up to 40 ms for an epoch of one clip on one core."""
    return System(learner, epochs=epochs, clips=540, tested=4)


def _heaviest(learner: str) -> System:
    """A network of 50 to 100 ms for an epoch of one clip on one core."""
    return System(learner, epochs=8, clips=480, tested=4)


@dataclass(frozen=True)
class Published:
    """A figure that the paper reports on a corpus that may be here."""

    corpus: str
    figure: float
    """0 to 1."""
    metric: str = "wa"
    """``wa``, ``ua`` or ``f1``."""
    system: int = 0
    """Which of the row's systems it is of."""


@dataclass(frozen=True)
class FieldRow:
    """One system of the field."""

    name: str
    """As ``ser field --rows`` takes it."""
    number: str
    """``table 4.1, 7`` or ``model 2``: where the brief has it."""
    brief: str
    """As the brief says."""
    paper: str
    """As the paper says: who, when, on what; and what the brief has wrong."""
    published: str
    """The published figure in words."""
    mark: str
    """Name in ``MARKS``."""
    systems: tuple[System, ...] = ()
    figures: tuple[Published, ...] = ()
    leaks: str = ""
    """What leaked in the paper's own protocol."""
    differs: str = ""
    """What differs from the paper in the twin, which is why its figure may be another."""
    evidence: str = ""
    """What was measured of these differences; empty: nothing."""
    waits: str = ""
    """Why nothing is run, or what a system of the row waits for."""
    protocols: tuple[str, ...] = ("leaky", "honest")
    """Names in ``PROTOCOLS``."""


LINE = "telephone speech (8 kHz, mu-law) in place of 16 to 48 kHz"
CLIPS_SHARED = "random clips: every tested speaker is trained on"
ACTED = (
    "acted sentences are the same for every emotion, so their words carry none; telephone speech, 8 epochs, frames every 20 ms, words "
    "embedded here in place of GloVe's vectors, and no prosodic values"
)
FUNCTIONALS_COUNT = (
    "measured with a plain SVM on EMO-DB's 7 emotions, random folds: WA 77.6 % with eGeMAPS over the telephone line and 76.3 % at 16 kHz, "
    "so the line takes nothing; 85.6 % with the 1,582 of IS10 over the line, so the number of functionals takes 8 points"
)
WEIGHTS = "waits for weights: no checkpoint can be had here"

ROWS: dict[str, FieldRow] = {
    row.name: row
    for row in (
        FieldRow(
            "cnn",
            "model 1",
            "CNN",
            "no paper of its own; Zhao, Mao and Chen (BSPC 47, 2019) run a 1D and a 2D CNN",
            "–",
            "none",
            (_medium("cnn"),),
            leaks=CLIPS_SHARED,
        ),
        FieldRow(
            "lstm",
            "model 2",
            "RNN-LSTM",
            "no paper of its own; Kerkeni et al. (2019) run one beside SVM",
            "–",
            "none",
            (_light("lstm"),),
            leaks=CLIPS_SHARED,
        ),
        FieldRow(
            "cnn_lstm",
            "model 3",
            "CNN-LSTM",
            'Zhao, Mao and Chen, "Speech emotion recognition using deep 1D & 2D CNN LSTM networks", BSPC 47 (2019): EMO-DB and IEMOCAP, 4 '
            "local feature learning blocks and an LSTM on log-mel; beside it the classic CNN-LSTM and a CRNN",
            "EMO-DB 95.33 speaker-dependent, 95.89 independent; IEMOCAP 89.16 and 52.14: the literature's own price of the leak",
            "memory",
            (_heaviest("lflb_lstm"), _light("cnn_lstm"), _heavy("crnn")),
            (Published("emodb", 0.9533), Published("iemocap", 0.8916)),
            leaks="its speaker-dependent column says so: random clips",
            differs=f"{LINE}, few epochs, clips of one random fifth tested",
        ),
        FieldRow(
            "transformer",
            "model 4",
            "Transformer (wav2vec 2.0)",
            'Pepino et al. (Interspeech 2021, from memory); Wagner et al., "Dawn of the transformer era", TPAMI 45(9), 2023, arXiv '
            "2203.07378",
            "valence CCC 0.638 on MSP-Podcast",
            "abstract",
            (System("wav2vec2"), System("wavlm"), System("hubert")),
            leaks="nothing: MSP-Podcast is split by speaker",
            waits=WEIGHTS,
        ),
        FieldRow(
            "attention_gru",
            "model 5",
            "Dynamic Attention-GRU",
            "Quang-Anh et al., arXiv 2412.08683 (2024): VNEMOS, 5 classes; ODConv, channel and spatial gates, a GRU of one time step",
            "UA 87, WA 86, F1 87 on VNEMOS, which is not here",
            "read",
            (_heaviest("attention_gru_one_step"), _heaviest("attention_gru")),
            leaks="5 s pieces of one file on both sides; best epoch on the test fold; its UA is accuracy and its WA mean recall",
            differs=f"{LINE}, few epochs",
        ),
        FieldRow(
            "mdre",
            "model 6",
            "MDRE (audio and text)",
            "Yoon, Byun and Jung, SLT 2018, arXiv 1810.04635: IEMOCAP, 4 classes",
            "WAP 71.8 with the true text, 69.1 with recognised text",
            "read",
            (_heavy("mdre", 8), _heavy("mdre_audio", 8), _heavy("mdre_text", 8)),
            (Published("iemocap", 0.718),),
            leaks="random fifths of utterances: all 10 speakers and their dialogues are on both sides",
            differs=ACTED,
        ),
        FieldRow(
            "emotion2vec",
            "model 7",
            "emotion2vec",
            "Ma et al., Findings of ACL 2024, arXiv 2312.15185: a linear probe on IEMOCAP",
            "WA about 71.8",
            "memory",
            (System("emotion2vec"),),
            leaks="folds by session; emotion2vec+ is fine-tuned on the sets that its EmoBox table tests on",
            waits=WEIGHTS,
        ),
        FieldRow(
            "ensemble_1d",
            "table 4.1, 1",
            "Ensemble 1D, 2021: TESS, EMO-DB, RAVDESS, SAVEE, CREMA-D",
            'Ahmed et al., "An Ensemble 1D-CNN-LSTM-GRU Model with Data Augmentation", arXiv 2112.05666, ESWA 218 (2023), as in the brief',
            "WA: TESS 99.46, EMO-DB 95.42, RAVDESS 95.62, SAVEE 93.22, CREMA-D 90.47",
            "memory",
            (_medium("ensemble_1d", copies=1),),
            (
                Published("emodb", 0.9542),
                Published("ravdess", 0.9562),
                Published("tess", 0.9946),
                Published("savee", 0.9322),
                Published("crema_d", 0.9047),
            ),
            leaks="random clips, and augmented copies of a clip on both sides (their order is from memory)",
            differs=f"{LINE}, one augmented copy of a clip, under telephone conditions, fewer epochs than 60, one random fifth tested",
        ),
        FieldRow(
            "survey",
            "table 4.1, 2",
            "Novel approach, 2022",
            "not identified; the brief itself calls it a survey",
            "–",
            "none",
            waits="a survey, no system",
        ),
        FieldRow(
            "wavelet_packet",
            "table 4.1, 3",
            "Wavelet packet, 2020: RAVDESS, SUSAS, ESD; gradient boosting, random forest",
            "Wang, Su, Liu and Wang, Neurocomputing 398 (2020): EMO-DB and EESDB (the brief's ESD), SVM on wavelet packet coefficients "
            "(from memory)",
            "+14.9 points over MFCC on EMO-DB, +4.3 on EESDB, by speaker; absolute values are not in the abstract",
            "abstract",
            (
                System("svm:wavelet_packet"),
                System("gradient_boosting:wavelet_packet"),
                System("random_forest:wavelet_packet"),
                System("svm:wavelet_packet:forward"),
            ),
            leaks="nothing by its title; whether the selection is inside the folds is not clear",
        ),
        FieldRow(
            "sismote",
            "table 4.1, 4",
            "Selective interpolation, 2020: SAVEE, EMO-DB",
            "Liu et al., Sensors 20(8):2297 (2020): CASIA, SAVEE and EMO-DB; selective-interpolation SMOTE, selection by boosted trees",
            "speaker-dependent: CASIA 90.28, SAVEE 75.00, EMO-DB 85.82",
            "abstract",
            tuple(
                System(f"{name}:egemaps:selective_smote") for name in ("svm", "decision_tree", "knn", "logistic_regression", "naive_bayes")
            ),
            (Published("emodb", 0.8582), Published("savee", 0.75), Published("casia", 0.9028)),
            leaks="random clips, as it says; from memory: clips are made up before the split between clips of both sides, and selection "
            "is on all clips",
            differs=f"{LINE}, eGeMAPS' 88 functionals in place of 1,582",
            evidence=FUNCTIONALS_COUNT,
        ),
        FieldRow(
            "two_way",
            "table 4.1, 5",
            "Two way feature, 2022: RAVDESS, TESS",
            "Aggarwal et al., Sensors 22(6):2378 (2022): a dense network on 180 means, and VGG-16 of ImageNet on log-mel images",
            "way 1: RAVDESS 73.95; way 2: RAVDESS 81.94, TESS 97.15",
            "memory",
            (_light("two_way_dense"), _heavy("two_way_image")),
            (Published("ravdess", 0.7395), Published("ravdess", 0.8194, system=1), Published("tess", 0.9715, system=1)),
            leaks="random clips; scaling and principal components of all clips",
            differs=f"{LINE}, few epochs, and the image network starts from scratch: ImageNet's weights are not to be had here",
        ),
        FieldRow(
            "real_time",
            "table 4.1, 6",
            "A real time emotion, 2019: RAVDESS, SAVEE",
            "Iqbal and Barua, ECCE 2019: 34 features of pyAudioAnalysis; gradient boosting, KNN, SVM, men and women apart",
            "per emotion, up to 100 for some pairs",
            "memory",
            (System("gradient_boosting:short_term34"), System("knn:short_term34"), System("svm:short_term34")),
            leaks=f"{CLIPS_SHARED}; men and women apart, which are together here",
        ),
        FieldRow(
            "cnn_3d",
            "table 4.1, 7",
            "3D CNN, 2019: SAVEE, RML",
            "Hajarolasvadi and Demirel, Entropy 21(5):479 (2019), also eNTERFACE'05: k-means key frames, 3D CNN",
            "SAVEE 81.05, RML 77.00, eNTERFACE'05 72.33",
            "memory",
            (_heavy("keyframe_cnn3d"),),
            (Published("savee", 0.8105), Published("rml", 0.77)),
            leaks="10 folds of clips of 4 and 8 speakers",
            differs=f"{LINE}, few epochs",
        ),
        FieldRow(
            "ga_clustering",
            "table 4.1, 8",
            "SER using clustering, 2021: RAVDESS, SAVEE; SVM",
            "Kanwal and Asghar, IEEE Access 9 (2021), also EMO-DB: features by a genetic algorithm whose generations are clustered; SVM",
            "EMO-DB 89.6, RAVDESS 82.5 (abstract); SAVEE 77.8 (memory)",
            "abstract",
            (System("svm:egemaps:genetic"),),
            (Published("emodb", 0.896), Published("ravdess", 0.825), Published("savee", 0.778)),
            leaks="from memory: folds of clips; the genetic algorithm's fitness is the accuracy that is reported",
            differs=f"{LINE}, eGeMAPS' 88 functionals in place of 1,582",
            evidence=FUNCTIONALS_COUNT,
        ),
        FieldRow(
            "clustered_bilstm",
            "table 4.1, 9",
            "Clustering based deep BiLSTM, 2020: RAVDESS, EMO-DB",
            "Mustaqeem, Sajjad and Kwon, IEEE Access 8 (2020), also IEMOCAP: key segments, ResNet-101 of ImageNet, BiLSTM",
            "IEMOCAP 72.25, EMO-DB 85.57, RAVDESS 77.02",
            "memory",
            (_heavy("clustered_bilstm"),),
            (Published("emodb", 0.8557), Published("ravdess", 0.7702), Published("iemocap", 0.7225)),
            leaks="claims to be by speaker; features are normalised by all clips' mean and deviation",
            differs=f"{LINE}, few epochs, a small network from scratch in place of ImageNet's ResNet-101",
        ),
        FieldRow(
            "feature_extraction",
            "table 4.1, 10",
            "Feature extraction algorithm, 2020",
            "Koduru, Valiveti and Budati, IJST 23 (2020): MFCC, wavelets, pitch, energy, ZCR; decision tree, SVM, LDA; 4 emotions",
            "decision tree 85, SVM 70, LDA 65",
            "memory",
            (System("decision_tree:mfcc_wavelet_pitch"), System("svm:mfcc_wavelet_pitch"), System("lda:mfcc_wavelet_pitch")),
            leaks="no split by speaker is named: random clips",
        ),
        FieldRow(
            "mfcc_cnn",
            "table 4.1, 11",
            "SER using ML, 2020: SAVEE; CNN",
            "not unique; nearest is Alhlffee, Rev. d'Intell. Artif. 34(2) (2020): RAVDESS and SAVEE, 5 emotions, CNN on MFCC",
            '"improved by 70 %" over its baselines',
            "abstract",
            (_medium("cnn"),),
            leaks="no split by speaker is named: random clips",
        ),
        FieldRow(
            "mean_cnn",
            "table 4.1, 12",
            "SER using CNN, 2020: RAVDESS, TESS",
            "de Pinto et al., EAIS 2020: 40 MFCC averaged over time, 1D CNN; RAVDESS and TESS together",
            "weighted F1 91",
            "memory",
            (_light("mean_cnn"),),
            leaks="a third of all clips at random; the 2 speakers of TESS on both sides",
            differs=f"{LINE}, few epochs, and TESS, on which it is nearly perfect, is not here",
        ),
        FieldRow(
            "functionals_rf_svm",
            "table 4.1, 13",
            "Using speech signal, 2019: RML, SUSAS; random forest, SVM",
            "not identified; nearest is Noroozi et al., IEEE TAC 10(1), 2019: RML, SAVEE, eNTERFACE'05",
            "per corpus, not looked up",
            "memory",
            (System("random_forest:egemaps"), System("svm:egemaps")),
            leaks="folds of clips",
        ),
        FieldRow(
            "audio_textual",
            "table 4.1, 14",
            "Audio-textual, 2019: TESS; CNN, LSTM",
            "Cai et al., Math. Probl. Eng. 2019:2593036: IEMOCAP, not TESS, whose one carrier sentence could not help",
            "fused: +6.70 over text, +13.85 over speech",
            "abstract",
            (_heavy("mdre", 8),),
            leaks="random utterances of IEMOCAP (from memory)",
            differs=ACTED,
        ),
        FieldRow(
            "mfcc_svm",
            "table 4.1, 15",
            "Speech recognition using MFCC, 2020: SAVEE, EMO-DB; SVM",
            "not identified",
            "–",
            "none",
            (System("svm:mfcc39"),),
            leaks=CLIPS_SHARED,
        ),
        FieldRow(
            "speaker_normalised",
            "table 4.1, 16",
            "Automatic SER, 2019: CREMA-D, TESS; MLR, SVM",
            "Kerkeni et al., IntechOpen (2019): Berlin (EMO-DB) and Spanish; MFCC and modulation spectra, linear regression, SVM, LSTM",
            "EMO-DB 83 for all classifiers with speaker normalisation; Spanish 94",
            "abstract",
            (System("linear_regression:modulation"), System("svm:modulation"), _light("lstm")),
            (Published("emodb", 0.83), Published("emodb", 0.83, system=1)),
            leaks="random folds (from memory); each speaker is normalised by all of their clips, also by tested ones",
            differs=LINE,
            protocols=("leaky_speaker_statistics", "honest", "speaker_statistics"),
        ),
    )
}
"""By name: 7 kinds of model and the 16 rows of the brief's table 4.1."""

MUSEUM = (
    (
        "arXiv 2507.03251 (2025): RAVDESS 99.2, EMO-DB 99.5, TESS 99.8, SAVEE 97.5, CREMA-D 89.3",
        "each of RAVDESS's 1,440 clips becomes 256 rows (noise, pitch), which are split at random; the test set is the validation set",
        "read",
    ),
    ("arXiv 2507.07046 (2025): 100 % on TESS and EMO-DB", "random split of five pooled corpora", "abstract"),
    ("JESA 59(4), 2026: 99.1 % on CREMA-D, RAVDESS, TESS and SAVEE", "pooled, random split", "abstract"),
    ("SciTePress 2021: RAVDESS 59 to 91 % by augmentation", "augmented copies made before the split: +32 points", "abstract"),
)
"""Claims beyond the brief: what is claimed, what was done, mark."""
