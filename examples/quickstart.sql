-- The topic of each support ticket, compared with the label that a person gave.
CREATE TABLE tickets AS FROM read_csv('examples/tickets.csv');

CREATE TABLE answered AS
SELECT id, topic, body,
    ai.classify(body, {
        'billing': 'invoice, charge, refund, payment',
        'bug': 'something is broken, crashes or does not work',
        'delivery': 'parcel, shipping, courier, late or damaged package',
        'account': 'login, password, e-mail address, close the account',
        'praise': 'thanks, compliment, happy customer',
        'feature request': 'a wish for something new'
    }, truncate := true) AS predicted
FROM tickets;

SELECT topic, count(*) AS tickets, count(*) FILTER (predicted = topic) AS right,
    round(avg(CAST(predicted = topic AS INTEGER)), 2) AS accuracy
FROM answered WHERE topic IS NOT NULL GROUP BY ALL ORDER BY topic;
