"""The results as a picture: one bar a row, on a logarithmic scale, beside its target."""
import html
import math

WIDE, LEFT, RIGHT, STEP, TOP = 960, 330, 90, 22, 56
MET, MISSED, SHOWN = "#2a7f4f", "#b3372f", "#6b7785"


def draw(results):
    bars = [one for one in results if one["measured"] is not None and one["against"]]
    low = min([one["measured"] for one in bars] + [one["target"] for one in bars if one["target"]] + [0.1]) / 1.5
    high = max([one["measured"] for one in bars] + [one["target"] for one in bars if one["target"]] + [1.5]) * 1.2
    tall = TOP + STEP * max(len(bars), 1) + 40

    def across(value):
        return LEFT + (WIDE - LEFT - RIGHT) * (math.log(max(value, low)) - math.log(low)) / (math.log(high) - math.log(low))
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" '
           'font-size="12">' % (WIDE, tall, WIDE, tall),
           '<rect width="100%" height="100%" fill="white"/>',
           '<text x="12" y="22" font-size="15">popferry: time (or CPU) as a part of the other\'s; shorter is better</text>',
           '<text x="12" y="40" fill="#555">medians of ratios of the same round; the black mark is the target</text>']
    for k in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1):
        x = across(10.0 ** k)
        out.append('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="%s"/>' % (x, x, TOP, tall - 30, "#999" if k == 0 else "#ddd"))
        out.append('<text x="%.1f" y="%d" text-anchor="middle" fill="#555">%g</text>' % (x, tall - 14, 10.0 ** k))
    for n, one in enumerate(bars):
        y = TOP + STEP * n
        colour = {"met": MET, "MISSED": MISSED}.get(one["verdict"], SHOWN)
        name = "%s / %s, %s, %d ms%s" % (one["row"], one["against"], one["box"], one["rtt"], "" if one["tls"] else ", plain")
        out.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (LEFT - 8, y + 15, html.escape(name)))
        out.append('<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>' % (
            LEFT, y + 4, max(across(one["measured"]) - LEFT, 1), STEP - 8, colour))
        if one["target"]:
            x = across(one["target"])
            out.append('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="black" stroke-width="2"/>' % (x, x, y + 1, y + STEP - 1))
        out.append('<text x="%.1f" y="%d">%.3g</text>' % (
            max(across(one["measured"]), across(one["target"] or low)) + 6, y + 15, one["measured"]))
    out.append("</svg>")
    return "\n".join(out) + "\n"
