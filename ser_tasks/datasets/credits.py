"""Authors and licence of each corpus, which model cards and licence notices must name."""

from dataclasses import dataclass

from ser_tasks.licences import LICENCES, UNKNOWN


@dataclass(frozen=True)
class Credit:
    """Authors of a corpus, their paper, and its licence."""

    title: str
    authors: str
    source: str
    licence: str


CREDITS = {
    "ravdess": Credit(
        "RAVDESS, The Ryerson Audio-Visual Database of Emotional Speech and Song",
        "Steven R. Livingstone and Frank A. Russo",
        "PLoS ONE 13(5): e0196391, 2018",
        "CC BY-NC-SA 4.0",
    ),
    "emodb": Credit(
        "EMO-DB, Berlin Database of Emotional Speech",
        "Felix Burkhardt, Astrid Paeschke, Miriam Rolfes, Walter Sendlmeier and Benjamin Weiss",
        "A database of German emotional speech, Interspeech 2005 (files as published by audEERING)",
        "CC0",
    ),
    "nemo": Credit(
        "nEMO, Dataset of Emotional Speech in Polish",
        "Iwona Christop",
        "LREC-COLING 2024",
        "CC BY-NC-SA 4.0",
    ),
    "crema_d": Credit(
        "CREMA-D, Crowd-sourced Emotional Multimodal Actors Dataset",
        "Houwei Cao, David G. Cooper, Michael K. Keutmann, Ruben C. Gur, Ani Nenkova and Ragini Verma",
        "IEEE Transactions on Affective Computing 5(4), 2014",
        "ODbL 1.0",
    ),
    "tess": Credit(
        "TESS, Toronto Emotional Speech Set",
        "M. Kathleen Pichora-Fuller and Kate Dupuis",
        "Borealis, doi:10.5683/SP2/E8H2MF, 2020",
        "CC BY-NC-ND 4.0",
    ),
    "savee": Credit(
        "SAVEE, Surrey Audio-Visual Expressed Emotion",
        "Sanaul Haq and Philip J. B. Jackson",
        "Speaker-dependent audio-visual emotion recognition, AVSP 2009",
        "for research, by registration",
    ),
    "iemocap": Credit(
        "IEMOCAP, Interactive Emotional Dyadic Motion Capture Database",
        "Carlos Busso and others",
        "Language Resources and Evaluation 42(4), 2008",
        "for research, by agreement",
    ),
    "esd": Credit(
        "ESD, Emotional Speech Dataset",
        "Kun Zhou, Berrak Sisman, Rui Liu and Haizhou Li",
        "Speech Communication 137, 2022",
        "for research, by agreement",
    ),
    "subesco": Credit(
        "SUBESCO, SUST Bangla Emotional Speech Corpus",
        "Sadia Sultana, M. Shahidur Rahman, M. Reza Selim and M. Zafar Iqbal",
        "PLoS ONE 16(4): e0250173, 2021",
        "CC BY 4.0",
    ),
    "emozionalmente": Credit(
        "Emozionalmente, a crowdsourced corpus of simulated emotional speech in Italian",
        "Fabio Catania and Franca Garzotto",
        "zenodo.org/records/6569824",
        "CC BY 4.0",
    ),
    "mesd": Credit(
        "MESD, Mexican Emotional Speech Database",
        "Mathilde M. Duville, Luz M. Alonso-Valerdi and David I. Ibarra-Zarate",
        "Mendeley Data, doi:10.17632/cy34mh68j9.5, 2022",
        "CC BY 4.0",
    ),
    "banglaser": Credit(
        "BanglaSER, a speech emotion recognition dataset for the Bangla language",
        "Rakesh Kumar Das, Nahidul Islam, Md. Rayhan Ahmed, Salekul Islam, Swakkhar Shatabda and A. K. M. Muzahidul Islam",
        "Data in Brief 42, 2022",
        "CC BY 4.0",
    ),
    "emns": Credit(
        "EMNS, an emotive single-speaker dataset for narrative storytelling",
        "Kari A. Noriy, Xiaosong Yang and Jian Jun Zhang",
        "openslr.org/136, 2023",
        "CC BY 4.0",
    ),
    "rml": Credit(
        "RML Emotion Database",
        "Yongjin Wang and Ling Guan",
        "An investigation of speech-based human emotion recognition, MMSP 2004",
        "for research, by agreement",
    ),
    "susas": Credit(
        "SUSAS, Speech Under Simulated and Actual Stress",
        "John H. L. Hansen and Sahar E. Bou-Ghazale",
        "Getting started with SUSAS, Eurospeech 1997 (LDC99S78)",
        "for members of the Linguistic Data Consortium, by agreement",
    ),
    "eesdb": Credit(
        "EESDB, Chinese elderly emotion database",
        "Kunxia Wang and others",
        "Speech emotion recognition using Fourier parameters, IEEE Transactions on Affective Computing 6(1), 2015",
        UNKNOWN,
    ),
    "casia": Credit(
        "CASIA Chinese emotional speech corpus",
        "Institute of Automation, Chinese Academy of Sciences",
        "ChineseLDC CLDC-SPC-2005-010",
        "for research, by agreement",
    ),
    "emovo": Credit(
        "EMOVO Corpus, an Italian Emotional Speech Database",
        "Giovanni Costantini, Iacopo Iaderola, Andrea Paoloni and Massimiliano Todisco",
        "LREC 2014",
        "for research",
    ),
    "turev": Credit(
        "TurEV-DB, Turkish Emotion Voice Database",
        "Salih Firat Canpolat, Zuhal Ormanoglu and Deniz Zeyrek",
        "SLTU and CCURL 2020",
        UNKNOWN,
    ),
    "emospeech_india": Credit(
        "Indian EmoSpeech Command Dataset",
        "Subham Banga, Ujjwal Upadhyay, Piyush Agarwal, Aniket Sharma and Prerana Mukherjee",
        "arXiv 1910.13801, 2019",
        "CC BY-NC-SA 4.0",
    ),
    "emogator": Credit(
        "EmoGator, vocal bursts",
        "Fred W. Buhl",
        "github.com/fredbuhl/EmoGator, 2023",
        "Apache-2.0",
    ),
}
"""By corpus, lower case."""


def licence_of_weights(corpora: list[str]) -> str:
    """The licence of weights trained on these corpora; ``unknown`` where ``CREDITS`` does not determine it."""
    licences = {CREDITS[name.lower()].licence if name.lower() in CREDITS else UNKNOWN for name in corpora}
    if not licences <= set(LICENCES):
        return UNKNOWN
    return max(licences, key=LICENCES.index)
