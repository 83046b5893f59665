"""The stages, one file each. They are named here and imported only when used."""

_HERE = "autosing.pipeline.stages"

STAGES = {
    "probe": f"{_HERE}.probe:Probe",
    "quality": f"{_HERE}.quality:Quality",
    "stems": f"{_HERE}.stems:Stems",
    "denoise": f"{_HERE}.denoise:Denoise",
    "f0": f"{_HERE}.f0:F0Stage",
    "energy": f"{_HERE}.energy:Energy",
    "mel": f"{_HERE}.mel:Mel",
    "ssl": f"{_HERE}.ssl:Ssl",
    "units": f"{_HERE}.units:Units",
    "tokens": f"{_HERE}.tokens:Tokens",
    "token_file": f"{_HERE}.token_file:TokenFile",
    "semantic": f"{_HERE}.semantic:SemanticStage",
    "content": f"{_HERE}.content:ContentStage",
    "codes": f"{_HERE}.codes:CodesStage",
    "lyric_mel": f"{_HERE}.lyric_mel:LyricMel",
    "align": f"{_HERE}.align:Align",
    "voice_activity": f"{_HERE}.voice_activity:VoiceActivity",
    "singer_embedding": f"{_HERE}.singer_embedding:SingerEmbedding",
    "lyric_language": f"{_HERE}.lyric_language:LyricLanguage",
    "cuts": f"{_HERE}.cuts:Cuts",
}
"""Stage name -> where its class is."""
