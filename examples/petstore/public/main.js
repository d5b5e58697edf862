import { startAuction } from './auction.js'
import { startDashboard } from './dashboard.js'
import { toast } from './dom.js'
import { startInventory } from './inventory.js'
import { showLines } from './lines.js'
import { startNotifications } from './notifications.js'
import { listenToOrders, startOrder } from './order.js'
import { showPerson, signIn } from './person.js'
import { applyPetChange, loadPets } from './pets.js'
import { openStream } from './stream.js'
import { startSupport } from './support.js'

showPerson()
showLines()
try {
  await signIn()
} catch (error) {
  toast(error.message)
}

startNotifications({ onPetChange: applyPetChange, onLoad: loadPets })
startInventory()
listenToOrders()
openStream()
startSupport()
startDashboard()
const pets = await loadPets()
startOrder(pets)
startAuction(pets)
