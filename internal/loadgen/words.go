package loadgen

import "strings"

// wordList is what prompts are made of: common English words, nearly all of
// which are a single token to the usual vocabularies, so that a number of words
// is close to a number of tokens.
var wordList = strings.Fields(`
able above across action active actor address adult advice after again age agree air allow almost alone along already
also always among amount animal answer apple area argue arm army around arrive art article artist aside ask attack aunt
autumn away baby back bad bag ball bank bar base basket bath beach bean bear beat bed begin behind bell belt bench best
better between big bird birth bit black blade blood blow blue board boat body bone book border born bottle bottom bowl
box boy branch brave bread break bridge bright bring broad brother brown brush build burn bus busy butter button buy
call calm camera camp can candle cap car card care carry case castle cat catch cause cave center chair chance change
cheap check cheese chest chicken chief child choice church circle city class clean clear clever climb clock close cloth
cloud club coach coal coast coat coffee coin cold collar color comb come common cook cool copper copy corn corner cotton
count country course court cousin cover cow crop cross crowd cry culture cup current curtain custom cut daily damage
dance danger dark date daughter day dead deal dear debt deep deer degree desert desk detail dinner direct dirt dish
divide doctor dog door double doubt down draw dream dress drink drive drop dry duck dust duty each ear early earth ease
east easy eat edge effect egg eight electric empty end enemy engine enjoy enough enter equal escape even evening event
ever every exact example except exist expect eye face fact fair fall family famous far farm fast fat father fear feather
feed feel fence few field fight figure fill film final find fine finger fire firm first fish five flag flame flat flight
floor flow flower fly fold food foot force forest forget fork form forward four frame free fresh friend front fruit full
future game garden gate gather general gentle get gift girl give glad glass glove goat gold good grain grand grass gray
great green ground group grow guard guess guest guide gun hair half hall hammer hand handle hang happy harbor hard hat
head health hear heart heat heavy height help hen here hide high hill hold hole holiday home honey hope horn horse hospital
hotel hour house huge human hunt hurry ice idea image inch income ink inside iron island jacket jelly jewel job join judge
juice jump just keep key kind king kitchen knee knife knock know lady lake lamp land language large last late laugh law
layer lead leaf learn leather left leg lemon lesson letter level library lift light like limit line lion lip list listen
little live local lock long look loose lose loud love low lucky lunch machine main make manner many map mark market mass
master match material matter meal measure meat medicine meet member memory metal method middle milk mind minute mirror
mist mix model modern moment money month moon morning most mother motor mountain mouse mouth move much music nail name
narrow nation nature near neat neck need needle neighbor nest net never new news next nice night nine noise north nose note
number nut oak ocean odd offer office often oil old olive once onion only open orange order other oven over owner page paint
pair palace paper parent park part party pass past path peace pear pen pencil people pepper perfect period person phone
photo piano picture piece pig pilot pin pink pipe place plain plan plane plant plate play please plenty pocket point police
polite pool poor porch port post pot potato powder power press pretty price prince print prize problem process produce
promise proud public pull pupil push queen quick quiet rabbit race radio rail rain raise range rapid reach read ready real
reason record red region remain remember rent repair reply report rest result rice rich ride right ring rise river road rock
roof room root rope rose rough round row royal rubber rule run sad safe sail salt same sand save say scale scene school
science scissors screen sea search season seat second secret see seed seem sell send sense serve seven shade shadow shake
shape share sharp sheep sheet shelf shell shine ship shirt shoe shop shore short shoulder show shower shut side sign silent
silk silver simple sing sister size skill skin skirt sky sleep slip slow small smart smell smile smoke smooth snake snow soap
social society soft soil soldier solid some son song soon sort sound soup south space speak special speed spell spend spider
spoon sport spot spread spring square stage stamp stand star start state station stay steam steel step stick still stomach
stone stop store storm story strange stream street strong student sudden sugar suit summer sun supper sure surface sweet swim
system table tail take talk tall taste tax teach team tell ten tent test thank thick thin thing think third thread three throat
throw thumb ticket tide tie tight time tin tired toe together tomorrow tongue tool tooth top total touch towel tower town toy
track trade train travel tray tree trick trip trouble truck true trust try turn twelve twice two type uncle under unit until
upper use useful valley value van very view village visit voice wait walk wall want war warm wash waste watch water wave way
weak wear weather week weight well west wet wheel when white whole wide wife wild win wind window wine wing winter wire wise
wish woman wonder wood wool word work world worry wrong yard year yellow yesterday young zero
`)
