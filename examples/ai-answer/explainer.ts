/** In place of a model: composes an answer of several paragraphs from the question, the same one every time. */

interface Subject {
  words: RegExp
  /** Goes on from "The short answer: ". */
  short: string
  paragraphs: string[]
  /** Goes on from "In one sentence: ". */
  close: string
}

const openings = [
  (question: string, short: string) => `You ask: “${question}” The short answer: ${short}. The longer one takes a few steps.`,
  (question: string, short: string) => `“${question}” In short, ${short}. It is worth the longer way round, though.`,
  (question: string, short: string) => `To “${question}” the quick reply is that ${short}. Here is the slow one.`
]

const closings = [
  (close: string) => `In one sentence: ${close}.`,
  (close: string) => `If you keep one thing of all this, keep this: ${close}.`,
  (close: string) => `So, to put it as briefly as one can: ${close}.`
]

export function compose (question: string): string {
  const subject = subjects.find(({ words }) => words.test(question)) ?? anything(question)
  const seed = [...question].reduce((sum, letter) => sum + letter.codePointAt(0)!, 0)
  return [
    pick(openings, seed)(question, subject.short),
    ...subject.paragraphs,
    pick(closings, seed >> 1)(subject.close)
  ].join('\n\n')
}

/** Pieces of words, as a model would say them; joined they are the text. */
export function tokensOf (text: string): string[] {
  const words = text.match(/\n+|\s?[\p{L}\p{N}]+|\s?[^\p{L}\p{N}\s]|\s/gu) ?? []
  return words.flatMap(word => {
    const letters = [...word]
    const size = Math.ceil(letters.length / Math.ceil(letters.length / 8))
    const pieces: string[] = []
    for (let start = 0; start < letters.length; start += size) pieces.push(letters.slice(start, start + size).join(''))
    return pieces
  })
}

function pick<T> (from: readonly T[], seed: number): T {
  return from[seed % from.length]!
}

const subjects: Subject[] = [
  {
    words: /\b(breads?|doughs?|yeasts?|loaf|loaves|bak(e|es|ing))\b/i,
    short: 'yeast fills the dough with gas, and the dough is elastic enough to hold it',
    paragraphs: [
      'Bread is blown up from the inside. Flour and water make a dough that stretches; yeast fills it with gas; heat sets it before the gas can leave. Take any one of the three away, and what comes out of the oven is flat.',
      'It begins with water. Wheat flour holds two proteins, gliadin and glutenin, which lie about in the dry flour and do nothing. Once they are wet they take hold of each other and form gluten, a net that is both springy and slack: it pulls back when it is tugged, and gives way when it is pushed slowly. Kneading lays the strands side by side and lets them join. That is why a dough turns from a rough lump into something smooth, which can be drawn out so thin that light comes through.',
      'Then there is the yeast, a fungus of a single cell that eats sugar. The flour brings a little sugar and a great deal of starch, and enzymes in the flour, woken by the water, cut some of that starch into maltose. Inside a dough, where there is little oxygen, the yeast turns it into alcohol and carbon dioxide. The gas dissolves in the water of the dough until no more will go in; after that it moves into the tiny bubbles of air that kneading has folded in. Yeast makes no bubbles of its own. It can only blow up the ones it finds.',
      'Time and warmth decide how fast this goes. In a warm kitchen a dough may double in an hour or so; in a refrigerator the same takes a night. Slow is not worse. While the gas gathers, the yeast and the bacteria that travel with it also make acids, alcohols and esters, and those are much of what we call the taste of bread. A dough that waits too long, though, runs out of sugar, acids and enzymes weaken its net, and the bubbles tear into one another.',
      'In the oven everything happens at once. The gas expands with the heat, water begins to turn into steam, and the carbon dioxide that was dissolved comes out again. The loaf grows for the last time; bakers call it oven spring. Somewhere above 50 °C the yeast dies. Above 60 °C the starch swells and takes up the water, a little later the proteins set, and the walls of the bubbles turn from a stretching film into a solid sponge. They crack open as they set, the gas leaves, and the loaf stays up because it now has a skeleton.'
    ],
    close: 'yeast makes the gas, gluten holds it, and heat makes the shape last'
  },
  {
    words: /\b(tides?|tidal|seas?|oceans?|moon|harbou?rs?)\b/i,
    short: 'the Moon pulls harder on the near side of the Earth than on the far side, and the sea shows the difference',
    paragraphs: [
      'Tides are what is left of the Moon’s pull once the pull on the Earth as a whole has been taken away. The Earth falls towards the Moon all the time, as the Moon does towards the Earth, and both go round a point that they share, some 1,700 kilometres beneath our feet.',
      'What matters is not the pull but how it differs from place to place. On the side that faces the Moon the water is drawn a little more strongly than the ground beneath it, and heaps up. On the far side it is drawn a little less than the ground, and is left behind, which makes a heap as well. That is the part that surprises people: there are two bulges, not one, and nothing has to pull outwards for the second. In between, a quarter of the way round, the sea is low.',
      'Now let the Earth turn under this. A harbour is carried through both bulges in a day, so most coasts have two high waters and two low ones. They do not come at the same hour every day, since the Moon has meanwhile moved on along its orbit: it takes 24 hours and about 50 minutes until the harbour is beneath it again, and high water follows high water after 12 hours and 25 minutes.',
      'The Sun does the same with somewhat less than half the effect. Its pull on us is far stronger, but it is so distant that the pull hardly differs between one side of the Earth and the other. At new moon and at full moon the three stand in a line, both tides add up, and we get springs, with the highest high water and the lowest low. At the quarters they work at right angles, and we get neaps. Springs often come a day or two later than the Moon would lead one to expect, because so much water takes its time to answer.',
      'If that were all, the tide would be about half a metre everywhere, and dull. But the sea is no skin around a smooth ball. Continents stand in the way, so the bulges become long waves that run round the basins and turn about points where there is hardly any tide at all. Where a bay has a length that suits the wave, the water swings to and fro as it does in a bath: in the Bay of Fundy, in Canada, some sixteen metres can lie between low and high. Where a sea is nearly closed, as the Baltic is, there is almost nothing to see.',
      'There is a price to it. Water that is dragged over shallow ground rubs, and the rubbing slows the Earth: the day grows longer by about two thousandths of a second in a century. The Moon gains what the Earth loses, and moves off by just under four centimetres a year.'
    ],
    close: 'the Moon stretches the sea, the Earth turns beneath it, and the coast decides how much of it you see'
  },
  {
    words: /\b(bicycles?|bikes?|cycling|cyclists?|handlebars?)\b/i,
    short: 'a bicycle that begins to fall steers into the fall, and catches itself',
    paragraphs: [
      'A bicycle stays up for the same reason that a broom can be balanced on a hand: whenever it leans, something moves beneath it until it is upright again. With the broom it is the hand that moves. With the bicycle it is the wheels, and steering is what moves them.',
      'Look at the track that somebody leaves on a wet road. It is never straight. The rider leans a hair to the left, the front wheel turns left, the tyres run left and come back under the weight; then the same to the right. To ride is to fall in small pieces and to catch each of them. That is why nobody, however skilled, rides far with the handlebars locked, and why going slowly is hard: at a walking pace a turn of the wheel moves the tyres too little to catch much.',
      'Most of this the machine does alone. Push an empty bicycle down a gentle slope, knock it from the side as it rolls, and it will waver and recover, so long as it is fast enough. For an ordinary frame that means something like fifteen to twenty kilometres an hour.',
      'Three things turn the front wheel into the lean. The first is called trail: the axis about which the fork turns meets the ground a few centimetres ahead of the place where the tyre touches it, so when the frame leans, the road pushes the wheel round, much as it does with a castor. The second is the spin of the wheel, which makes it a gyroscope: tip it to one side, and it answers by turning to that side. The third is plain weight: handlebars, fork and wheel lie mostly ahead of the steering axis, and fall towards the side that is low.',
      'For a long while each of the first two was held to be the whole secret. In 1970 David Jones, a chemist, set out to build bicycles that could not be ridden. One carried a second wheel that spun backwards and cancelled the gyroscope; he rode it without much trouble. In 2011 a group from Cornell and Delft went further and made a small machine with neither gyroscope nor trail, two skate wheels with weights in the right places. It balanced itself all the same. So no single part is needed. What is needed is that falling should steer, by whatever means.',
      'One thing follows that every rider does and few have noticed. To turn left you have to lean left, and to lean left you have to get the wheels out from under you to the right. So a left turn begins with a small push of the handlebars to the right. Ask anybody which way they turn them first, and they will tell you the other.'
    ],
    close: 'falling steers, and steering brings the wheels back under the weight'
  }
]

/** For all other questions: says that it does not know, and how to go about it. */
function anything (question: string): Subject {
  const words = [...new Set(question.match(/[\p{L}\p{N}’'-]{4,}/gu) ?? [])].slice(0, 4).map(word => `“${word}”`)
  const named = words.length > 1 ? `${words.slice(0, -1).join(', ')} and ${words.at(-1)}` : words[0] ?? 'the whole of it'
  return {
    words: /./,
    short: 'this page does not know, but it knows how one might find out',
    paragraphs: [
      'Three things are known here by heart: why bread rises, how the tides work, and what keeps a bicycle upright. Your question is not among them, and to say so is better than to make something up. What can be offered is a way to go about it, and at some length, since a long answer is what this page is here to show.',
      `First, make the question smaller. Take its words one at a time, which here means ${named}, and ask of each what you could point at if somebody asked you to. A word that you can point at is safe. The one that you cannot point at is where the difficulty hides, and very often the question turns out to be two questions that happen to share it.`,
      'Second, decide what an answer would look like before you go looking. It may be a number, a cause, a date, a name, or a choice between two things. If you cannot tell a good answer from a bad one beforehand, you will take the first that comes along, since it will sound like all the others. It helps to write down a guess. A guess that turns out wrong teaches more than a page that was only read, because you find out where your picture of the matter is bent.',
      'Third, look for a case in which it is not so. People collect what agrees with them, and never run short of it. One honest counterexample is worth more than twenty more examples: either it breaks the idea, and saves you from it, or it shows where the idea ends, and then you have learned its true size. When somebody tells you that a thing is always so, ask them for the strangest case they know.',
      'Fourth, go as near to the source as you can. Most of what is written about most things is copied from something else that was written about them, and gets smoother with every copy. Who measured it? Who was there? What did they write on the day, before they knew how it would end? An hour with the first account is usually worth a week with the tenth, and it is more fun to read.',
      'Last, say it aloud to somebody who does not care for the matter at all. They will stop you at the word that you do not understand yourself. Go back to that word, and begin again from there; the second round is always shorter. After the third you will not need notes any more, and that is as good a sign as any that you know.'
    ],
    close: 'make it smaller, guess first, look for the case that breaks it, and go to the source'
  }
}
